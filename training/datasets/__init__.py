"""Adapters: from the form in which a labelled data set is distributed to one manifest."""
