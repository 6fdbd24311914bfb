"""The search for the nearest articles: ScaNN, exact search and Milvus."""
