"""What every request passes: limits, log, metrics and errors."""
