"""The operator's settings. Each is an environment variable: ``HM_`` and the field's name in capitals."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "HM_"
VERSION = r"^\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{8}$"  # as hm_utils.serving.bundle names a folder
MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's variable: the folder that the workers share
KEY = re.compile(r"[!-~]{16,}")
DEFAULT_MODEL = Path(__file__).parents[1] / "artifacts" / "model"
DEFAULT_IMAGES = Path(__file__).parents[1] / "data" / "raw" / "images"

Seconds = Annotated[float, Field(allow_inf_nan=False, le=3_600)]
Level = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR"],
    BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value),
]


def valid_key(key: SecretStr) -> SecretStr:
    if not KEY.fullmatch(key.get_secret_value()):
        raise ValueError("must be 16 or more visible ASCII characters without blanks")
    return key


Key = Annotated[SecretStr, AfterValidator(valid_key)]


class SettingsError(Exception):
    """A setting has an invalid value. The message names the variable and never contains a key."""


class Settings(BaseSettings):
    """The service's settings; docs/service.md has the same table."""

    # An empty variable counts as unset: `HM_API_KEY= make serve` has no key.
    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    model: Path = Field(default=DEFAULT_MODEL, description="the published model")
    model_version: str | None = Field(default=None, pattern=VERSION, description="the one version to serve")
    stock: Path | None = Field(default=None, description="ids of the articles in stock; by default beside the model")
    images: Path = Field(default=DEFAULT_IMAGES, description="photos of articles; the folder may be missing")
    api_key: Key | None = Field(default=None, description="required in X-API-Key")
    admin_key: Key | None = Field(default=None, description="required in X-API-Key for administration")
    max_in_flight: int = Field(default=1_000, ge=1, description="concurrent requests; one more is rejected")
    max_connections: int = Field(default=2_000, ge=1, description="open connections; the longest idle is closed")
    time_limit: Seconds = Field(default=10, gt=0, description="seconds that a request may take")
    reload_seconds: Seconds = Field(default=5, ge=0, description="seconds between polls for a new model; 0: no polls")
    pool_threads: int = Field(default=2, ge=1, le=64, description="threads for slow work")
    pool_queue: int = Field(default=64, ge=0, description="calls that may wait for a thread")
    batch_queue: float = Field(default=8, gt=0, le=1_000, description="largest batches that may be in progress")
    shutdown_seconds: int = Field(default=30, ge=1, description="seconds that requests have to finish after SIGTERM")
    log_level: Level = "INFO"
    access_log: bool = Field(default=True, description="one log line per request")
    vector_store: str | None = Field(default=None, description="a Milvus to search instead of the model's own index")
    # hm_utils reads it where a model is opened, also in other processes.
    towers: str | None = Field(default=None, description="tower classes of your own that a model may name")

    @model_validator(mode="after")
    def keys_differ(self) -> Settings:
        if self.api_key is not None and self.api_key == self.admin_key:
            raise ValueError(f"{PREFIX}API_KEY and {PREFIX}ADMIN_KEY must differ")
        return self


def model_folder(settings: Settings) -> Path:
    """The published model, or the version that the settings pin."""
    version = settings.model_version
    return settings.model if version is None else settings.model.absolute().parent / "models" / version


def stock_file(settings: Settings, model: Path) -> Path:
    """The list of the articles in stock; the file may be missing."""
    return model.absolute().parent / "stock.txt" if settings.stock is None else settings.stock


def read_settings() -> Settings:
    """The settings in the environment.

    Raises:
        SettingsError: a value is invalid.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = [
            ": ".join([*(f"{PREFIX}{name}".upper() for name in problem["loc"]), problem["msg"]])
            for problem in error.errors(include_input=False, include_url=False)
        ]
        raise SettingsError("; ".join(problems)) from None


def unknown_variables() -> list[str]:
    """Variables with the prefix that are no settings. A misspelt HM_API_KEY would leave the service open."""
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    return sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)
