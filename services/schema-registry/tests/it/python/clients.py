"""confluent-kafka's registry client and Avro serializers, unmodified, against the registry at the given address."""

import sys

from confluent_kafka.schema_registry import (
    Metadata,
    MetadataProperties,
    Schema,
    SchemaReference,
    SchemaRegistryClient,
    ServerConfig,
)
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.common.schema_registry_client import ConfigCompatibilityLevel
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

LINE = '{"type": "record", "name": "Line", "namespace": "shop", "fields": [{"name": "qty", "type": "int"}]}'
ORDER = """{"type": "record", "name": "Order", "namespace": "shop", "fields": [
  {"name": "id", "type": "long"}, {"name": "lines", "type": {"type": "array", "items": "shop.Line"}}]}"""
NEWER = '{"type": "record", "name": "Line", "namespace": "shop", "fields": [{"name": "qty", "type": "long"}]}'


def refused(code, call, *arguments):
    try:
        call(*arguments)
    except SchemaRegistryError as error:
        assert error.error_code == code, error
    else:
        raise AssertionError(f"no error {code}")


def main(url):
    client = SchemaRegistryClient({"url": url})
    refused(40403, client.get_schema, 1)
    refused(40401, client.get_latest_version, "line")

    line = Schema(LINE, "AVRO")
    assert client.register_schema("line", line) == 1
    assert client.register_schema("line", line) == 1
    found = client.lookup_schema("line", line)
    assert (found.schema_id, found.version) == (1, 1)
    reference = SchemaReference("shop.Line", "line", 1)
    order = Schema(ORDER, "AVRO", [reference])

    # Serializers register by themselves, send the id before the payload, and find the references again.
    topic = SerializationContext("orders", MessageField.VALUE)
    value = {"id": 7, "lines": [{"qty": 1}, {"qty": 2}]}
    data = AvroSerializer(client, order)(value, topic)
    assert data[:5] == b"\0\0\0\0\2", data
    fresh = SchemaRegistryClient({"url": url})
    assert AvroDeserializer(fresh)(data, topic) == value
    # Without registering, the schema is looked up; with the latest version, only that is used.
    for settings in ({"auto.register.schemas": False}, {"auto.register.schemas": False, "use.latest.version": True}):
        assert AvroSerializer(SchemaRegistryClient({"url": url}), order, conf=settings)(value, topic) == data

    assert client.get_subjects() == ["line", "orders-value"]
    assert client.get_versions("orders-value") == [1]
    latest = client.get_latest_version("orders-value")
    assert (latest.schema_id, latest.version, latest.schema.references) == (2, 1, [reference])

    newer = Schema(NEWER, "AVRO")
    assert client.get_config().compatibility_level == "BACKWARD"
    assert client.test_compatibility("line", newer)
    client.set_compatibility("line", "FORWARD")
    assert client.get_compatibility("line") == "FORWARD"
    assert not client.test_compatibility("line", newer)
    refused(409, client.register_schema, "line", newer)
    refused(42203, client.set_compatibility, "line", "SIDEWAYS")
    refused(42201, client.register_schema, "line", Schema('{"type": "nothing"}', "AVRO"))
    refused(42206, client.delete_subject, "line")

    assert client.delete_version("orders-value", 1) == 1
    assert client.delete_subject("line") == [1]
    refused(40404, client.delete_subject, "line")
    # What was written is still read.
    assert AvroDeserializer(SchemaRegistryClient({"url": url}))(data, topic) == value
    assert client.delete_subject("orders-value", permanent=True) == [1]
    assert client.delete_subject("line", permanent=True) == [1]
    refused(40403, SchemaRegistryClient({"url": url}).get_schema, 1)
    contexts(url, client)
    types_metadata_and_modes(url, client)
    print("ok")


def contexts(url, client):
    """The serializers work in a context as they do without: ids are its own, references stay in it."""
    subject = ":.team:orders-value"
    line = client.register_schema(":.team:line", Schema(LINE, "AVRO"))
    assert line == 1, line
    order = Schema(ORDER, "AVRO", [SchemaReference("shop.Line", "line", 1)])
    settings = {"subject.name.strategy": lambda context, record: subject}
    topic = SerializationContext("orders", MessageField.VALUE)
    value = {"id": 7, "lines": [{"qty": 1}]}
    data = AvroSerializer(client, order, conf=settings)(value, topic)
    assert data[:5] == b"\0\0\0\0\2", data
    assert client.get_contexts() == [".", ".team"]
    fresh = SchemaRegistryClient({"url": url})
    assert fresh.get_schema(2, subject_name=subject).schema_str == fresh.get_latest_version(subject).schema.schema_str
    assert AvroDeserializer(fresh, conf=settings)(data, topic) == value
    assert fresh.get_schema(2, subject_name=":.team:").references == order.references
    refused(40403, fresh.get_schema, 2, ":.other:")


def types_metadata_and_modes(url, client):
    assert set(client.get_schema_types()) == {"AVRO", "JSON", "PROTOBUF"}
    document = Schema('{"type": "object"}', "JSON")
    number = client.register_schema("document", document)
    found = SchemaRegistryClient({"url": url}).get_schema(number)
    assert (found.schema_type, found.schema_str) == ("JSON", '{"type":"object"}'), found
    text = 'syntax = "proto3";\nmessage M {}\n'
    assert client.get_schema(client.register_schema("message", Schema(text, "PROTOBUF"))).schema_str == text

    owner = Metadata(tags=None, properties=MetadataProperties({"owner": "team"}), sensitive=None)
    client.register_schema("owned", Schema('"int"', "AVRO", metadata=owner))
    client.register_schema("owned", Schema('"long"', "AVRO"))
    latest = client.get_latest_with_metadata("owned", {"owner": "team"})
    assert (latest.version, latest.schema.schema_str) == (2, '"long"'), latest
    refused(40403, client.get_latest_with_metadata, "owned", {"owner": "nobody"})
    defaults = Metadata(tags=None, properties=MetadataProperties({"tier": "1"}), sensitive=None)
    client.set_config("tiered", ServerConfig(compatibility=ConfigCompatibilityLevel.NONE, default_metadata=defaults))
    assert client.get_config("tiered").default_metadata.properties.properties == {"tier": "1"}
    client.register_schema("tiered", Schema('"int"', "AVRO"))
    assert client.get_latest_with_metadata("tiered", {"tier": "1"}).version == 1

    client.update_mode(":.team:", "READONLY")
    refused(42205, client.register_schema, ":.team:new", Schema('"int"', "AVRO"))
    assert client.get_mode(":.team:") == "READONLY"
    client.delete_mode(":.team:")
    assert client.get_global_mode() == "READWRITE"


main(sys.argv[1])
