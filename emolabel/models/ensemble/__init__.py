"""Ensembles: several models of one architecture and config in one bundle."""

from emolabel.models.ensemble.model import Ensemble, EnsembleConfig, average

__all__ = ["Ensemble", "EnsembleConfig", "average"]
