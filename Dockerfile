# Any Debian-like base with python3 (3.11 or later) and its venv module will do. The digest is of the index of all
# processors, as Docker Hub had it in September 2026 (Python 3.11.16).
ARG BASE_IMAGE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${BASE_IMAGE} AS builder
# cpu: OpenVINO. gpu: ONNX Runtime with the CUDA provider in its place.
ARG ACCELERATOR=cpu
# all: with the packages of the formats that are too large for every image (docs/formats.md).
ARG FORMATS=default
WORKDIR /build
# `python -m tools.lock` writes the lists, from the pins in pyproject.toml.
COPY requirements*.txt ./
# --no-deps: the lists are complete, and nothing that the engine never imports comes along.
RUN case "$ACCELERATOR" in cpu) list=requirements.txt ;; gpu) list=requirements-gpu.txt ;; \
      *) echo "ACCELERATOR is $ACCELERATOR; cpu or gpu is wanted" >&2; exit 1 ;; esac \
 && case "$FORMATS" in default) more= ;; all) more="-r requirements-formats.txt" ;; \
      *) echo "FORMATS is $FORMATS; default or all is wanted" >&2; exit 1 ;; esac \
 && python3 -m venv /opt/vesal && python3 -m venv /opt/build \
 && /opt/vesal/bin/pip install --no-cache-dir --no-compile --no-deps --require-hashes -r "$list" $more \
 && /opt/build/bin/pip install --no-cache-dir --no-compile --no-deps --require-hashes -r requirements-build.txt
# What the runtime package brings for other devices and other formats than ONNX, and tests of libraries.
RUN cd /opt/vesal/lib/python3*/site-packages \
 && rm -rf openvino/include openvino/cmake openvino/libs/cache.json \
        openvino/libs/libopenvino_intel_gpu_plugin.so openvino/libs/libopenvino_intel_npu_plugin.so \
        openvino/libs/libopenvino_tensorflow*_frontend.so* openvino/libs/libopenvino_pytorch_frontend.so* \
        openvino/libs/libopenvino_paddle_frontend.so* openvino/libs/libopenvino_jax_frontend.so* \
        openvino/libs/libopenvino_gguf_frontend.so* pydicom/data/test_files pydicom/data/charset_files \
 && find . -type d -name tests -prune -exec rm -rf {} +
# The package itself. What a case never needs (training, networks, demo, ...) is not sent here: see .dockerignore.
COPY pyproject.toml README.md LICENSE ./
COPY vesal vesal
COPY inference inference
COPY postprocess postprocess
COPY weights weights
COPY cluster cluster
RUN /opt/build/bin/pip wheel --no-cache-dir --no-build-isolation --no-deps --wheel-dir wheels . \
 && /opt/vesal/bin/pip install --no-cache-dir --no-compile --no-deps --no-index wheels/vesal-*.whl \
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
# The base brings pip, and what would install it again. Nothing of it is left to whoever gets in.
RUN find / -xdev \( -path /proc -o -path /sys \) -prune -o \( -type d \( -name pip -o -name setuptools -o -name wheel \
        -o -name 'pip-*.dist-info' -o -name 'setuptools-*.dist-info' -o -name 'wheel-*.dist-info' -o -name ensurepip \
        -o -name python-wheels \) -path '*/*python*' -o \( -type f -o -type l \) -path '*/bin/*' -name 'pip*' \) \
        -prune -exec rm -rf {} +
# A user without a home may read everything and write nothing but mounted folders: these need to be open to it, as the
# organizers' are (chmod 777), or the container is given the owner's number with --user.
ENV PATH=/opt/vesal/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
WORKDIR /workspace
# A made case goes through the real engine, or there is no image. The one run that may write bytecode: what a start
# imports from the standard library is compiled too, where the base comes without it.
# Digests that it kept go: a layer may round the times of files.
RUN --mount=type=bind,source=demo,target=/mnt \
    env -u PYTHONDONTWRITEBYTECODE python3 /mnt/self_check.py \
 && find /opt/vesal -name '.digests.json*' -delete
USER 10001:10001
CMD ["/bin/bash", "-c", "sh predict.sh"]
