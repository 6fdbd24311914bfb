"""The log and what is read from it: raw tables, purchases, features, examples."""
