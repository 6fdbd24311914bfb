"""A two-tower recommender for the H&M purchase log: the library behind the notebooks and the service.

Each package imports only those above it (tests/test_layers.py):

    arrays, files               array types; paths, checksums, atomic writes
    data                        raw tables, purchase log, histories, features, examples
    model, retrieval, sample    towers, losses and scores; ScaNN; the synthetic H&M
    evaluation, serving         metrics and baselines; the published model and its recommender
    training                    batches, loop, validation, calibration, refit
    cluster, analysis, plotting the same work on Ray; the notebooks' tables; their figures
    engines                     chooses between this machine and a cluster
    pipeline, recommend         commands: the notebooks by papermill; recommendations in bulk
"""

import os

__version__ = "0.1.0"

# Torch's threads wait for each other many times a step. By default they spin, which takes the core from other
# processes. Training examples a second on two idle cores, and beside one busy program: spinning 23,500 and 8,500;
# sleeping at once 16,200 and 16,000; spinning for some microseconds 21,700 and 11,800. OpenMP reads the variable when
# torch is imported. A setting of the user's takes precedence.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
