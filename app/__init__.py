"""The HTTP service: it answers requests with a published model."""
