# Tilewright, installed from this tree, with what its simulators compile with.
#
#     docker build -t tilewright .
#     docker run --rm tilewright                     # the demo
#     docker run --rm -v "$PWD:/data" -w /data tilewright run model.onnx --on fast
#
FROM python:3.11-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ make perl \
    && rm -rf /var/lib/apt/lists/*
COPY . /usr/src/tilewright
RUN pip install --no-cache-dir '/usr/src/tilewright[sweep]'
ENTRYPOINT ["tilewright"]
CMD ["demo"]
