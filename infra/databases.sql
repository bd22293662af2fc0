CREATE DATABASE shoploom_airflow;
CREATE DATABASE shoploom_mlflow;
