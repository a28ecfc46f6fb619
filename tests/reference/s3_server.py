"""A server that speaks S3, on loopback, with an empty bucket called `shared`: prints its port and serves until standard input closes.

    python s3_server.py
"""

import sys

import boto3
from moto.server import ThreadedMotoServer


def main():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    client.create_bucket(Bucket="shared")
    print(port, flush=True)
    for line in sys.stdin:
        # "break KEY": another content under the same name. "list": all names.
        command, *names = line.split()
        if command == "break":
            client.put_object(Bucket="shared", Key=names[0], Body=b"something else")
        pages = client.get_paginator("list_objects_v2").paginate(Bucket="shared")
        keys = [found["Key"] for page in pages for found in page.get("Contents", [])]
        print(" ".join(keys), flush=True)
    server.stop()


if __name__ == "__main__":
    main()
