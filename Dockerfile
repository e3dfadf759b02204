# A service on a CPU: `docker build -t moganet .`; docs/service.md says how it is started.
FROM python:3.12-slim

RUN useradd --create-home --uid 10001 moganet
WORKDIR /app

# From this index torch comes without CUDA, which would be 4 GB.
RUN pip install --no-cache-dir "torch>=2.9" "torchvision>=0.24" --index-url https://download.pytorch.org/whl/cpu
COPY pyproject.toml setup.py README.md LICENSE NOTICE ./
COPY moganet moganet
COPY moganet_cli moganet_cli
# For replicas on Ray: --build-arg EXTRAS=serve,explain,scale (rayservice.yaml)
ARG EXTRAS=serve,explain
# hadolint ignore=DL3013
RUN pip install --no-cache-dir ".[${EXTRAS}]"

USER 10001
ENV MOGANET_CACHE=/home/moganet/.cache/moganet
RUN mkdir -p "$MOGANET_CACHE"
EXPOSE 8000
HEALTHCHECK --start-period=60s --interval=30s --timeout=5s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]

# It starts with a token in MOGANET_TOKEN, or with --open. The model: one that ships, or mounted or copied into /models.
ENTRYPOINT ["moganet", "serve", "--host", "0.0.0.0"]
CMD ["moganet_nano.cifar10"]
