package weir.clients;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.BooleanSupplier;

/**
 * The cases of Kafka's Java client against one broker, one line each. usage: Suite BOOTSTRAP [word in a case's name]...
 *
 * <p>An outcome holds nothing that differs between two runs on equal brokers.
 */
public final class Suite {
    private static final int PARALLEL = 6;
    private static final int LIMIT_SECONDS = 120;
    private static final Map<String, Case> CASES = new LinkedHashMap<>();

    private Suite() {}

    /** One case: what it returns is the detail of the outcome. */
    interface Case {
        Object run(Broker broker) throws Exception;
    }

    /** What an action may throw and a case wants to know the name of. */
    interface Action {
        void run() throws Exception;
    }

    static void add(String name, Case one) {
        CASES.put(name, one);
    }

    static void expect(String what, Object got, Object want) {
        if (!got.equals(want)) {
            throw new AssertionError(what + ": expected " + want + ", got " + got);
        }
    }

    static void eventually(String what, int seconds, BooleanSupplier condition) throws InterruptedException {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() > end) {
                throw new AssertionError("waited in vain: " + what);
            }
            Thread.sleep(20);
        }
    }

    /** The simple name of what an action throws, `none` where it succeeds. */
    static String refused(Action action) {
        try {
            action.run();
            return "none";
        } catch (ExecutionException error) {
            return error.getCause().getClass().getSimpleName();
        } catch (Exception error) {
            return error.getClass().getSimpleName();
        }
    }

    private static String outcome(Broker broker, String name, Case one) {
        try {
            return ("case java " + name + " ok " + one.run(broker)).strip();
        } catch (Throwable error) {
            Throwable cause = error instanceof ExecutionException ? error.getCause() : error;
            if (!(cause instanceof AssertionError)) {
                cause.printStackTrace();
            }
            String text = cause.getClass().getSimpleName() + " " + cause.getMessage();
            return "case java " + name + " fail " + broker.plain(text);
        }
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length == 3 && arguments[0].equals("--die-in-transaction")) {
            Transactions.dieInTransaction(arguments[1], arguments[2]);
        }
        Records.add();
        Groups.add();
        Transactions.add();
        Administration.add();
        ExecutorService pool = Executors.newFixedThreadPool(PARALLEL);
        try (Broker broker = new Broker(arguments[0])) {
            Map<String, Future<String>> lines = new LinkedHashMap<>();
            List<String> words = new ArrayList<>(List.of(arguments)).subList(1, arguments.length);
            CASES.forEach((name, one) -> {
                if (words.isEmpty() || words.stream().anyMatch(name::contains)) {
                    lines.put(name, pool.submit(() -> outcome(broker, name, one)));
                }
            });
            for (Map.Entry<String, Future<String>> line : lines.entrySet()) {
                try {
                    System.out.println(line.getValue().get(LIMIT_SECONDS, TimeUnit.SECONDS));
                } catch (TimeoutException error) {
                    System.out.println("case java " + line.getKey() + " fail no end");
                }
            }
        }
        System.exit(0);
    }
}
