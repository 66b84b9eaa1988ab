# A bundle as a function of AWS Lambda; template.yaml beside it says how it is built and run.
FROM public.ecr.aws/lambda/python:3.12
RUN pip install --no-cache-dir 'numpy>=2,<3' 'onnxruntime>=1.20,<2' 'pillow>=11,<13'
COPY . ${LAMBDA_TASK_ROOT}
CMD ["restore.handler"]
