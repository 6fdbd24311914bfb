# Two images: the service, which only reads a published model, and the notebooks (docs/installation.md#containers).
# PIP_EXTRA_INDEX_URL may name PyTorch's own index, for its small CPU build.

FROM python:3.11-slim AS packages
ARG PIP_EXTRA_INDEX_URL=
WORKDIR /build
COPY requirements-serve.lock ./
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements-serve.lock \
    && /venv/bin/pip install --no-cache-dir torch
COPY pyproject.toml README.md LICENSE ./
COPY hm_utils hm_utils
COPY app app
RUN /venv/bin/pip install --no-cache-dir --no-deps .

FROM python:3.11-slim AS service
# ScaNN and PyTorch need OpenMP. The user has no home and no shell.
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin service
COPY --from=packages /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 HM_MODEL=/artifacts/model
WORKDIR /tmp
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://localhost:8000/health', timeout=2)"]
ENTRYPOINT ["python", "-m", "app", "--host", "0.0.0.0", "--port", "8000"]

FROM python:3.11-slim AS notebooks
ARG PIP_EXTRA_INDEX_URL=
RUN apt-get update && apt-get install -y --no-install-recommends git libgomp1 make && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home --shell /bin/bash analyst
COPY requirements.lock /tmp/
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --require-hashes --no-deps -r /tmp/requirements.lock \
    && /venv/bin/pip install --no-cache-dir torch \
    && chown -R analyst /venv
ENV PATH=/venv/bin:$PATH PYTHONPATH=/project
USER analyst
WORKDIR /project
EXPOSE 8888
CMD ["jupyter", "lab", "--ip", "0.0.0.0", "--no-browser"]
