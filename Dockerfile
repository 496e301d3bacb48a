# mlrun on a GPU host. Build:  docker build -t mlrun .
# Run, the project at its own path so that MLflow's absolute artifact paths hold inside and outside:
#   docker run --rm --gpus all --ipc host -u "$(id -u):$(id -g)" -v "$PWD:$PWD" -w "$PWD" mlrun model=mlp
FROM python:3.12-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/mlrun
COPY pyproject.toml README.md LICENSE ./
COPY mlrun mlrun
COPY hydra_plugins hydra_plugins
COPY conf conf
# On Linux the package index serves torch with its CUDA libraries; the driver comes from the host.
RUN pip install --no-cache-dir . && rm -rf /opt/mlrun

RUN useradd --create-home --uid 1000 mlrun
USER mlrun
# Any user given with -u has a writable home for caches.
ENV USER=mlrun LOGNAME=mlrun HOME=/tmp XDG_CACHE_HOME=/tmp/.cache MPLCONFIGDIR=/tmp/.matplotlib

WORKDIR /work
ENTRYPOINT ["mlrun"]
