"""The loaded model behind the endpoints."""
