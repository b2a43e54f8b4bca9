"""confluent-kafka's registry client against a registry that asks for a user and a password."""

import sys

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError


def main(url, login):
    client = SchemaRegistryClient({"url": url, "basic.auth.user.info": login})
    assert client.register_schema("python", Schema('"long"', "AVRO")) >= 1
    in_url = SchemaRegistryClient({"url": url.replace("://", f"://{login}@")})
    assert "python" in in_url.get_subjects()
    for stranger in ({"url": url}, {"url": url, "basic.auth.user.info": "alice:wrong"}):
        try:
            SchemaRegistryClient(stranger).get_subjects()
        except SchemaRegistryError as error:
            assert (error.http_status_code, error.error_code) == (401, 401), error
        else:
            raise AssertionError("a stranger was answered")
    print("ok")


main(*sys.argv[1:])
