"""The service: published model in, recommendations over HTTP out."""
