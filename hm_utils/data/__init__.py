"""Raw tables, purchase log, features, training examples."""
