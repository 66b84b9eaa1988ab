# MLflow's server with accounts, over PostgreSQL; of compose.yaml.
FROM python:3.12-slim
RUN pip install --no-cache-dir 'mlflow[auth]>=3.10,<4' 'psycopg2-binary>=2.9,<3'
RUN useradd --uid 10001 --create-home mlflow && install --directory --owner=mlflow /artefacts
COPY basic_auth.ini /etc/mlflow/basic_auth.ini
COPY with_secrets.sh /usr/local/bin/with_secrets.sh
USER 10001:10001
WORKDIR /home/mlflow
ENTRYPOINT ["sh", "/usr/local/bin/with_secrets.sh"]
