"""The loaded model behind the endpoints: loading, hot reload, request batching and answers."""
