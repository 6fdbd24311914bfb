"""Layers around every request: limits, request log, metrics and errors."""
