# Any Debian-like base with python3 (3.11 or later) and its venv module will do.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS builder
# cpu: OpenVINO. gpu: ONNX Runtime with the CUDA provider in its place.
ARG ACCELERATOR=cpu
WORKDIR /build
COPY pyproject.toml ./
COPY tools/pins.py tools/
# --no-deps: the lists are complete, and nothing that the engine never imports comes along.
RUN if [ "$ACCELERATOR" = gpu ]; then set -- runtime gpu --without openvino; else set -- runtime; fi \
 && python3 tools/pins.py "$@" >pins.txt \
 && python3 -m venv /opt/vesal \
 && /opt/vesal/bin/pip install --no-cache-dir --no-compile --no-deps -r pins.txt
# What the runtime package brings for other devices and other formats than ONNX, and tests of libraries.
RUN cd /opt/vesal/lib/python3*/site-packages \
 && rm -rf openvino/include openvino/cmake openvino/libs/cache.json \
        openvino/libs/libopenvino_intel_gpu_plugin.so openvino/libs/libopenvino_intel_npu_plugin.so \
        openvino/libs/libopenvino_tensorflow*_frontend.so* openvino/libs/libopenvino_pytorch_frontend.so* \
        openvino/libs/libopenvino_paddle_frontend.so* openvino/libs/libopenvino_jax_frontend.so* \
        openvino/libs/libopenvino_gguf_frontend.so* \
 && find . -type d -name tests -prune -exec rm -rf {} +
# The package itself. What a case never needs (training, networks, demo, ...) is not sent here: see .dockerignore.
COPY README.md LICENSE ./
COPY vesal vesal
COPY inference inference
COPY postprocess postprocess
COPY weights weights
RUN /opt/vesal/bin/pip install --no-cache-dir --no-compile --no-deps . \
 && /opt/vesal/bin/pip uninstall --yes --quiet setuptools pip
WORKDIR /workspace
COPY predict.sh ./
# Compiled once here, and never checked against the sources again: no user may write, and start-up is part of the time.
# The folders for the cases exist, so that a run without a mount says "no cases" and not "no folder".
RUN python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/vesal/lib \
 && mkdir -p inputs outputs && chmod 0777 outputs && chmod -R a+rX /opt/vesal /workspace

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="Vesal" \
      org.opencontainers.image.description="Segments 3D biomedical volumes from text prompts" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=builder /opt/vesal /opt/vesal
COPY --from=builder /workspace /workspace
ENV PATH=/opt/vesal/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /workspace
# A made case goes through the real engine, or there is no image. The one run that may write bytecode: what a start
# imports from the standard library is compiled too, where the base comes without it.
# Digests that it kept go: a layer may round the times of files.
RUN --mount=type=bind,source=demo,target=/mnt \
    env -u PYTHONDONTWRITEBYTECODE python3 /mnt/self_check.py \
 && find /opt/vesal -name '.digests.json*' -delete
CMD ["/bin/bash", "-c", "sh predict.sh"]
