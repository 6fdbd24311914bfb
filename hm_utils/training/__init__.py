"""Training: the loop, validation, calibration and the refit on all days."""
