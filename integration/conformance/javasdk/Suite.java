import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.jar.JarEntry;
import java.util.jar.JarFile;
import javax.xml.stream.XMLOutputFactory;
import javax.xml.stream.XMLStreamException;
import javax.xml.stream.XMLStreamWriter;
import org.apache.beam.sdk.testing.NeedsRunner;
import org.apache.beam.sdk.testing.ValidatesRunner;
import org.junit.experimental.categories.Categories.CategoryFilter;
import org.junit.runner.Description;
import org.junit.runner.JUnitCore;
import org.junit.runner.Request;
import org.junit.runner.Result;
import org.junit.runner.notification.Failure;
import org.junit.runner.notification.RunListener;

/**
 * Runs the tests in a jar that have the category ValidatesRunner, or NeedsRunner and not
 * ValidatesRunner; all of them or those of the classes named. It writes a report in JUnit's form:
 * {@code Suite report.xml tests.jar category [class...]}.
 */
public class Suite extends RunListener {
  private final List<Description> order = new ArrayList<>();
  private final Map<Description, String[]> faults = new HashMap<>(); // element and text
  private final Map<Description, Long> nanos = new HashMap<>(); // when it started, then how long it took

  public static void main(String[] args) throws Exception {
    List<Class<?>> classes = new ArrayList<>();
    for (String name : args.length > 3 ? List.of(args).subList(3, args.length) : find(args[1], args[2])) {
      classes.add(Class.forName(name));
    }
    Suite suite = new Suite();
    JUnitCore junit = new JUnitCore();
    junit.addListener(suite);
    Result result =
        junit.run(
            Request.classes(classes.toArray(new Class<?>[0]))
                .filterWith(filter(args[2])));
    suite.write(args[0]);
    System.out.printf(
        "%d failed, %d passed, %d skipped in %.2fs%n",
        result.getFailureCount(),
        result.getRunCount() - result.getFailureCount() - result.getAssumptionFailureCount(),
        result.getIgnoreCount() + result.getAssumptionFailureCount(),
        result.getRunTime() / 1000.0);
    System.exit(0); // threads of workers may be left
  }

  /** ValidatesRunner is a NeedsRunner too. */
  private static CategoryFilter filter(String category) {
    return category.equals("ValidatesRunner")
        ? CategoryFilter.include(ValidatesRunner.class)
        : CategoryFilter.categoryFilter(true, Set.of(NeedsRunner.class), true, Set.of(ValidatesRunner.class));
  }

  /**
   * The classes with a test that has the category. Those of ValidateRunnerXlangTest ask for services
   * that expand Python, those of encrypted keys for libraries of Google's secrets, and after
   * MetadataPropagationTest the SDK writes elements of all later tests in a form that a runner must
   * have asked for, and timers in none.
   */
  private static Iterable<String> find(String jar, String category) throws IOException {
    TreeSet<String> names = new TreeSet<>();
    try (JarFile tests = new JarFile(jar)) {
      for (JarEntry e : Collections.list(tests.entries())) {
        if (e.getName().matches(".*(Xlang|Encrypted|Gbek|MetadataPropagation).*") || !e.getName().matches("org/apache/beam/sdk/.*Test(\\$\\w+)?\\.class")) {
          continue;
        }
        byte[] code = tests.getInputStream(e).readAllBytes();
        if (new String(code, StandardCharsets.ISO_8859_1).contains("Lorg/apache/beam/sdk/testing/" + category + ";")) {
          names.add(e.getName().replace(".class", "").replace('/', '.'));
        }
      }
    }
    return names;
  }

  @Override
  public void testStarted(Description d) {
    nanos.put(d, System.nanoTime());
  }

  @Override
  public void testFinished(Description d) {
    nanos.computeIfPresent(d, (k, began) -> System.nanoTime() - began);
    order.add(d);
  }

  @Override
  public void testIgnored(Description d) {
    order.add(d);
    faults.put(d, new String[] {"skipped", ""});
  }

  @Override
  public void testAssumptionFailure(Failure f) {
    faults.put(f.getDescription(), new String[] {"skipped", f.getMessage()});
  }

  @Override
  public void testFailure(Failure f) {
    faults.put(f.getDescription(), new String[] {"failure", f.getTrimmedTrace()});
    if (!f.getDescription().isTest()) {
      order.add(f.getDescription()); // a class that cannot begin
    }
  }

  private void write(String file) throws IOException, XMLStreamException {
    try (OutputStream out = new FileOutputStream(file)) {
      XMLStreamWriter xml = XMLOutputFactory.newInstance().createXMLStreamWriter(out, "UTF-8");
      xml.writeStartDocument("UTF-8", "1.0");
      xml.writeStartElement("testsuites");
      xml.writeStartElement("testsuite");
      for (Description d : order) {
        xml.writeStartElement("testcase");
        xml.writeAttribute("classname", String.valueOf(d.getClassName()));
        xml.writeAttribute("name", String.valueOf(d.getMethodName()));
        xml.writeAttribute("time", String.format("%.3f", nanos.getOrDefault(d, 0L) / 1e9));
        String[] fault = faults.get(d);
        if (fault != null) {
          xml.writeStartElement(fault[0]);
          xml.writeCharacters(plain(fault[1]));
          xml.writeEndElement();
        }
        xml.writeEndElement();
      }
      xml.writeEndElement();
      xml.writeEndElement();
      xml.writeEndDocument();
    }
  }

  /** The text without what XML has no place for, and not longer than people read. */
  private static String plain(String text) {
    String end = text == null ? "" : text.substring(0, Math.min(text.length(), 10_000));
    return end.replaceAll("[^\\x09\\x0A\\x0D\\x20-\\x{D7FF}\\x{E000}-\\x{FFFD}]", "?");
  }
}
