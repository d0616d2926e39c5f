"""Labels against the truth: accuracy and UAR of the fused label and of each branch, confusions, folds, calibration."""
