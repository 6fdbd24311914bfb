"""The HTTP service: it answers requests with a published model."""

import os

# One thread a request, as torch has: threads that wait for each other cost several times what they save. OpenBLAS reads
# this when numpy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
