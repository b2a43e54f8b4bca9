// Prints sample messages as Apache Kafka's own classes write them: the other side of tests/it/golden.rs.
//
// Run with the jars of a Kafka 4.3.1 broker (a single file, Java 17 runs it as it is), from this folder:
//
//   java -cp '<jars>/*' Golden.java < messages.txt > kafka-4.3.1.txt
//
// Standard input names the messages, one per line: `ProduceRequest`. For each, the definition inside the jars says what the
// fields are; two samples are made up from the names of the fields, a full one and a sparse one, and written in every version.
// A line is `<message> <first version> <last version> <hex>`; versions that look the same share a line.

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.MessageUtil;

public class Golden {
    static final JsonNodeFactory NODES = JsonNodeFactory.instance;
    static final String[] PACKAGES = {
        "org.apache.kafka.common.message", "org.apache.kafka.coordinator.group.generated",
        "org.apache.kafka.coordinator.transaction.generated",
    };

    final Map<String, JsonNode> shared = new HashMap<>();
    final boolean full;

    Golden(JsonNode definition, boolean full) {
        this.full = full;
        definition.path("commonStructs").forEach(struct -> shared.put(struct.get("name").asText(), struct));
    }

    public static void main(String[] arguments) throws Exception {
        ObjectMapper mapper = new ObjectMapper();
        mapper.enable(JsonParser.Feature.ALLOW_COMMENTS);
        BufferedReader names = new BufferedReader(new InputStreamReader(System.in));
        for (String name = names.readLine(); name != null; name = names.readLine()) {
            InputStream source = Golden.class.getResourceAsStream("/common/message/" + name + ".json");
            JsonNode definition = mapper.readTree(source);
            int[] versions = range(definition.get("validVersions").asText());
            if (definition.path("latestVersionUnstable").asBoolean() || name.equals("InitProducerIdResponse")) {
                versions[1]--;
            }
            for (boolean full : new boolean[] {true, false}) {
                String last = null;
                int since = versions[0];
                for (int version = versions[0]; version <= versions[1]; version++) {
                    String hex = new Golden(definition, full).write(name, definition, (short) version);
                    if (last != null && !last.equals(hex)) {
                        System.out.println(name + " " + since + " " + (version - 1) + " " + last);
                        since = version;
                    }
                    last = hex;
                }
                System.out.println(name + " " + since + " " + versions[1] + " " + last);
            }
        }
    }

    /** The sample as bytes, after Kafka has read them back to the same message. */
    String write(String name, JsonNode definition, short version) throws Exception {
        String suffix = name.endsWith("Request") || name.endsWith("Response") ? "Data" : "";
        Class<?> data = find(name + suffix);
        Class<?> converter = find(name + suffix + "JsonConverter");
        JsonNode sample = struct(definition.get("fields"), version, name);
        Message message =
            (Message) converter.getMethod("read", JsonNode.class, short.class).invoke(null, sample, version);
        ByteBuffer bytes = MessageUtil.toByteBufferAccessor(message, version).buffer();
        byte[] copy = new byte[bytes.remaining()];
        bytes.duplicate().get(copy);
        Message again = (Message) data.getConstructor().newInstance();
        again.read(new ByteBufferAccessor(bytes), version);
        if (!again.equals(message) || bytes.hasRemaining()) {
            throw new IllegalStateException(name + " " + version + " does not come back");
        }
        return copy.length == 0 ? "-" : HexFormat.of().formatHex(copy);
    }

    static Class<?> find(String name) throws ClassNotFoundException {
        for (String folder : PACKAGES) {
            try {
                return Class.forName(folder + "." + name);
            } catch (ClassNotFoundException error) {
                continue;
            }
        }
        throw new ClassNotFoundException(name);
    }

    ObjectNode struct(JsonNode fields, int version, String path) {
        ObjectNode node = NODES.objectNode();
        for (JsonNode field : fields) {
            boolean tagged = field.has("taggedVersions");
            String versions = field.path(field.has("versions") ? "versions" : "taggedVersions").asText();
            if (!has(versions, version) || tagged && (!full || !has(field.get("taggedVersions").asText(), version))) {
                continue;
            }
            String name = field.get("name").asText();
            node.set(Character.toLowerCase(name.charAt(0)) + name.substring(1), value(field, version, path + name));
        }
        return node;
    }

    JsonNode value(JsonNode field, int version, String path) {
        String type = field.get("type").asText();
        boolean nullable = has(field.path("nullableVersions").asText("none"), version);
        if (nullable && !full && hash(path) % 2 == 0) {
            return NODES.nullNode();
        }
        if (!type.startsWith("[]")) {
            return one(type, field, version, path);
        }
        ArrayNode array = NODES.arrayNode();
        int count = full ? 2 : hash(path) % 3 == 0 ? 0 : 1;
        for (int index = 0; index < count; index++) {
            array.add(one(type.substring(2), field, version, path + index));
        }
        return array;
    }

    JsonNode one(String type, JsonNode field, int version, String path) {
        int hash = hash(path);
        switch (type) {
            case "bool":
                return NODES.booleanNode(full || hash % 2 == 0);
            case "int8":
                return NODES.numberNode((byte) hash);
            case "int16":
                return NODES.numberNode((short) hash);
            case "uint16":
                return NODES.numberNode(hash & 0xffff);
            case "int32":
                return NODES.numberNode(hash * 31);
            case "int64":
                return NODES.numberNode(hash * 0x1_0000_01b3L);
            case "float64":
                return NODES.numberNode(hash / 8.0);
            case "string":
                return NODES.textNode(full ? "\u00e9" + Integer.toString(hash % 1000, 36) : hash % 3 == 0 ? "" : "x");
            case "uuid":
                return NODES.textNode(new Uuid(hash * 0x1_0000_01b3L, ~hash).toString());
            case "bytes":
            case "records":
                return NODES.binaryNode(full ? new byte[] {(byte) hash, 0, -1} : new byte[hash % 2]);
            default:
                JsonNode struct = field.has("fields") ? field : shared.get(type);
                return struct(struct.get("fields"), version, path);
        }
    }

    /** A number of 24 bits that depends on the place of the field and on the sample only. */
    int hash(String path) {
        return (path + full).hashCode() * 0x9e3779b1 >>> 8;
    }

    static boolean has(String versions, int version) {
        int[] range = range(versions);
        return range[0] <= version && version <= range[1];
    }

    static int[] range(String versions) {
        if (versions.equals("none")) {
            return new int[] {1, 0};
        }
        if (versions.endsWith("+")) {
            return new int[] {Integer.parseInt(versions.substring(0, versions.length() - 1)), Short.MAX_VALUE};
        }
        String[] ends = versions.split("-");
        return new int[] {Integer.parseInt(ends[0]), Integer.parseInt(ends[ends.length - 1])};
    }
}
