# One image for every part of a mesh; what it can do follows from its arguments:
#
#   docker build --tag lanemesh .                                               arbiter, and services of the package alone
#   docker build --tag lanemesh-server --build-arg EXTRAS=auth,web,postgres .   orchestrator with PostgreSQL, gateway
#   docker build --tag lanemesh-llm --build-arg EXTRAS=llm --build-arg PACKAGES=libgomp1 .
#   docker build --tag lanemesh-crewai --build-arg ENVIRONMENTS=crewai .        with the environment of a service
#
# The layers, from the one that changes least: the libraries of the package, which all images share; Debian's packages and the
# libraries of the extras; the code.
# It has no feature of BuildKit, so that every builder builds it.
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY sdk/python sdk/python
COPY orchestrator orchestrator
COPY services services
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM ${PYTHON_IMAGE}
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1 HOME=/var/lib/lanemesh

# What runs as the user 10001 writes here alone. A volume takes its owner from the folder where it is mounted first.
RUN for folder in /var/lib/lanemesh /models /credentials /credentials/authority /credentials/orchestrator /credentials/gateway \
        /credentials/arbiter /credentials/node /credentials/database; do install -d -o 10001 -g 10001 "$folder" || exit 1; done

# The libraries, without the code: pip installs an empty package that asks for them.
WORKDIR /tmp/lanemesh
COPY pyproject.toml constraints.txt ./
RUN mkdir -p sdk/python/lanemesh orchestrator/lanemesh_orchestrator services/lanemesh_services && touch README.md LICENSE && \
    python -m pip install --constraint constraints.txt .

# Packages of Debian that the libraries of the extras need, separated by spaces: libgomp1 for llm and for onnxruntime.
ARG PACKAGES=""
RUN [ -z "$PACKAGES" ] || { apt-get update -qq && apt-get install -y -qq --no-install-recommends $PACKAGES && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*; }

# Extras of the package, separated by commas, such as "llm" or "web,postgres".
ARG EXTRAS=""
RUN [ -z "$EXTRAS" ] || python -m pip install --constraint constraints.txt ".[$EXTRAS]"

COPY --from=wheel /wheel /wheel
RUN python -m pip install --no-deps --force-reinstall /wheel/*.whl

# Services with a Python environment of their own, separated by spaces, such as "crewai".
ARG ENVIRONMENTS=""
RUN for service in $ENVIRONMENTS; do lanemesh env create "$service" || exit 1; done

# Pipelines name files beside them, such as agent_tools.py of agent.pipe; node servers read relative paths from where they run.
COPY examples /opt/lanemesh/examples
WORKDIR /opt/lanemesh/examples
USER 10001:10001

ENTRYPOINT ["lanemesh"]
CMD ["--help"]
