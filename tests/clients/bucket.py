"""Makes a bucket. Usage: bucket.py ENDPOINT BUCKET"""

import sys

import boto3

endpoint, bucket = sys.argv[1:]
boto3.client(
    "s3",
    endpoint_url=endpoint,
    aws_access_key_id="test-key",
    aws_secret_access_key="test-secret",
    region_name="us-east-1",
).create_bucket(Bucket=bucket)
print("{}")
