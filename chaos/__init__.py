"""Faults on purpose: `make chaos` shows that nothing is lost, doubled or different."""
