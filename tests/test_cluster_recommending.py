"""Recommendations and rankings by workers on Ray are those of one machine, byte for byte."""

from __future__ import annotations

import os
import signal
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from hm_utils import preprocessing, recommend
from hm_utils.bundle import current
from hm_utils.checkpoint import load_checkpoint
from hm_utils.cluster import recommending
from hm_utils.evaluation import evaluate
from hm_utils.inference import Snapshot
from hm_utils.preprocessing import Preprocessed
from hm_utils.raw import RawTables
from hm_utils.scoring import Scoring
from tests.data import article_table, customer_table, random_transactions
from tests.small_ray import small_ray
