"""Which data a run is of, as reports and the page say it."""

import json

import pytest

from hm_utils.data.origin import Origin, data_line
from hm_utils.files import repository_root

SIZES = {"articles": 3, "customers": 2, "transactions": 9}
FACTS = {"made_by": "hm_utils.sample", "seed": 1, "days": 5, **SIZES}


@pytest.mark.parametrize(
    ("content", "synthetic"),
    [
        (json.dumps(FACTS), True),
        (json.dumps(FACTS | {"transactions": 10}), False),  # the user's own tables in a sample's folder
        (json.dumps(FACTS | {"made_by": "me"}), False),
        ("[]", False),
        ("{", False),
        (None, False),
    ],
)
def test_only_the_samples_own_tables_are_synthetic(tmp_path, content, synthetic):
    if content is not None:
        (tmp_path / "sample.json").write_text(content)
    assert Origin.of(tmp_path, SIZES) == Origin(synthetic, tmp_path.name)


def test_the_folder_is_relative_to_the_repository_or_a_name():
    assert Origin.of("data/raw", SIZES).folder == "data/raw"
    assert Origin.of(repository_root() / "data" / "raw", SIZES).folder == "data/raw"
    assert Origin.of("/mnt/alice/logs", SIZES).folder == "logs"
    assert Origin.of("s3://bucket/logs", SIZES).folder == "logs"


def test_the_line_says_what_the_data_are():
    assert data_line({"synthetic": True, "folder": "s"}, 21_000, 1, 734) == (
        "Synthetic sample: 21,000 customers, 1 article, 734 days"
    )
    assert data_line({"synthetic": False, "folder": "logs"}, 1, 2, 3) == (
        "Your data in logs: 1 customer, 2 articles, 3 days"
    )
    assert data_line(None, 1, 2, 3) == "1 customer, 2 articles, 3 days"
