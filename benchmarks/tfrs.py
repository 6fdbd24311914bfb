"""TensorFlow Recommenders' retrieval task, on the arrays that `benchmarks.training` hands over.

    make bench-env
    .venv-tfrs/bin/python -m benchmarks.tfrs --arrays folder --seconds 20 --threads 2 --output out.json

TensorFlow has an environment of its own (`benchmarks/tfrs-requirements.txt`), and nothing of `hm_utils` is imported
here. The towers have our widths and inputs, and the work of a step is ours or less:

* item: id and product, the other categories and the state of one day, through Dense layers, without LayerNorm and skip
  connection. A step encodes the articles of its batch as they come, each example's own and its history's; with
  ``--articles-once`` every distinct one once, as ours.
* user: the mean of the history's item vectors, and attributes, through Dense layers. No learned pooling, no recency.
* loss: ``tfrs.tasks.Retrieval``, the softmax over the batch with sampling probabilities and without accidental hits.
* Adagrad, as in TensorFlow Recommenders' tutorials. Its update of an embedding table touches the rows of the batch
  alone; Adam's would visit all of them.
* `tf.data` gathers a batch's rows of the finished arrays at once, and one batch is always made ahead. The histories
  were made in advance, which costs nothing here.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

WARM_UP = 20  # steps before the clock starts, whole calls; the first traces the graph
ID_COLUMNS = 2  # the first columns of an article's categories: its id and its product
TEMPERATURE = 0.05
LEARNING_RATE = 0.003  # the loss falls fastest with it, of the tutorials' 0.1 and smaller ones
STEPS_PER_CALL = 10  # steps in one call of the graph: faster than one at a time

EXAMPLE_COLUMNS = ("customer", "article", "history", "mask")
TABLES = ("categories", "state", "attributes", "sampling_probability")

Arrays = dict[str, Any]


def read_arrays(folder: Path) -> tuple[Arrays, dict[str, Any]]:
    """What `benchmarks.training.write_arrays` wrote: the arrays by name, memory-mapped, and the settings."""
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in (*EXAMPLE_COLUMNS, *TABLES)}
    return arrays, json.loads((folder / "settings.json").read_text())


def make_dataset(tf: Any, arrays: Arrays, batch_size: int) -> Any:
    """Whole batches of the examples in random order, without end."""
    columns = {name: tf.constant(arrays[name]) for name in EXAMPLE_COLUMNS}
    n = len(arrays["customer"])
    return (
        tf.data.Dataset.range(n)
        .shuffle(n)
        .repeat()
        .batch(batch_size, drop_remainder=True)
        # Rows gathered a batch at a time: slicing tensors an example at a time is several times slower.
        .map(lambda chosen: {name: tf.gather(column, chosen) for name, column in columns.items()})
        .prefetch(tf.data.AUTOTUNE)
    )


def make_model(tf: Any, arrays: Arrays, settings: dict[str, Any], once: bool) -> Any:
    """The two towers and the retrieval task, compiled; ``once`` encodes the distinct articles of a batch alone."""
    tfrs = importlib.import_module("tensorflow_recommenders")
    layers = tf.keras.layers
    dim, out = settings["embedding_dim"], settings["output_dim"]

    class Embeddings(layers.Layer):  # type: ignore[name-defined]
        """One table for all columns, with an offset a column; the rows are summed."""

        def __init__(self, sizes: list[int]) -> None:
            super().__init__()
            self.starts = tf.constant(np.cumsum([0, *sizes[:-1]]), tf.int32)
            self.table = layers.Embedding(sum(sizes), dim)

        def call(self, codes: Any) -> Any:
            return tf.reduce_sum(self.table(codes + self.starts), axis=1)

    def mlp() -> Any:
        hidden = [layers.Dense(width, activation="gelu") for width in settings["hidden_dims"]]
        return tf.keras.Sequential([*hidden, layers.Dense(out)])

    class TwoTower(tfrs.Model):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            sizes = settings["article_sizes"]
            self.tables = {name: tf.constant(arrays[name]) for name in TABLES}
            self.id_embedding = Embeddings(sizes[:ID_COLUMNS])
            self.category = Embeddings(sizes[ID_COLUMNS:])
            self.attribute = Embeddings(settings["customer_sizes"])
            self.state = layers.Dense(dim)
            self.item_mlp, self.user_mlp = mlp(), mlp()
            self.retrieval = tfrs.tasks.Retrieval(temperature=TEMPERATURE, remove_accidental_hits=True)

        def encode_items(self, articles: Any) -> Any:
            """``[u]`` article rows → ``[u, output_dim]`` unit vectors."""
            categories = tf.gather(self.tables["categories"], articles)
            content = self.category(categories[:, ID_COLUMNS:])
            content += self.state(tf.gather(self.tables["state"], articles))
            ids = self.id_embedding(categories[:, :ID_COLUMNS])
            return tf.math.l2_normalize(self.item_mlp(tf.concat([ids, content], axis=1)), axis=1)

        def compute_loss(self, inputs: dict[str, Any], training: bool = False) -> Any:
            articles, history = inputs["article"], inputs["history"]
            comes = tf.concat([articles, tf.reshape(history, [-1])], axis=0)
            if once:
                distinct, places = tf.unique(comes)
                items = tf.gather(self.encode_items(distinct), places)
            else:
                items = self.encode_items(comes)
            n = articles.shape[0]
            purchases = tf.reshape(items[n:], [n, history.shape[1], out])
            mask = tf.cast(inputs["mask"], tf.float32)[:, :, None]
            pooled = tf.reduce_sum(purchases * mask, axis=1) / tf.maximum(tf.reduce_sum(mask, axis=1), 1.0)
            attributes = self.attribute(tf.gather(self.tables["attributes"], inputs["customer"]))
            users = tf.math.l2_normalize(self.user_mlp(tf.concat([pooled, attributes], axis=1)), axis=1)
            return self.retrieval(
                users,
                items[:n],
                candidate_sampling_probability=tf.gather(self.tables["sampling_probability"], articles),
                candidate_ids=articles,
                compute_metrics=False,
            )

    model = TwoTower()
    model.compile(optimizer=tf.keras.optimizers.Adagrad(LEARNING_RATE), steps_per_execution=STEPS_PER_CALL)
    return model


def run(folder: Path, seconds: float, threads: int, once: bool) -> dict[str, Any]:
    """Fit for ``seconds`` after the warm-up: examples/s and peak GiB."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"  # TensorFlow Recommenders needs Keras 2, which is tf_keras now
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    tf = importlib.import_module("tensorflow")
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    tf.keras.utils.set_random_seed(0)
    arrays, settings = read_arrays(folder)
    batch_size = min(settings["batch_size"], len(arrays["customer"]))
    ends: list[float] = []

    class Clock(tf.keras.callbacks.Callback):  # type: ignore[name-defined]
        def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            if batch + 1 >= WARM_UP:
                ends.append(time.perf_counter())
                self.model.stop_training = ends[-1] - ends[0] >= seconds

    # One endless epoch: the clock ends it. The callback runs after every call of STEPS_PER_CALL steps.
    dataset, model = make_dataset(tf, arrays, batch_size), make_model(tf, arrays, settings, once)
    model.fit(dataset, epochs=1, steps_per_epoch=2**30, verbose=0, callbacks=[Clock()])
    steps, took = STEPS_PER_CALL * (len(ends) - 1), ends[-1] - ends[0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    versions = {name: version(name) for name in ("tensorflow-cpu", "tf-keras", "tensorflow-recommenders")}
    rates = {"examples/s": batch_size * steps / took, "ms a step": 1_000 * took / steps}
    return {**rates, "steps": steps, "seconds": took, "peak GiB": peak / 2**30, "versions": versions}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arrays", type=Path, required=True, help="folder that benchmarks.training wrote")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--articles-once", action="store_true", help="encode each distinct article of a batch once")
    parser.add_argument("--output", type=Path, required=True, help="JSON file")
    options = parser.parse_args()
    facts = run(options.arrays, options.seconds, options.threads, options.articles_once)
    options.output.write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
