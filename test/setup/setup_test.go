//go:build realworld

// Package setup_test checks the tools that scripts/setup-test-tools.sh installs, before other tests build on them.
package setup_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// tools returns the absolute directory the tools were installed in, which make hands over in BARGE_TOOLS.
func tools(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("BARGE_TOOLS")
	if !filepath.IsAbs(dir) {
		t.Fatalf("BARGE_TOOLS is %q, not an absolute path: run `make tools`, then set it to the .tools directory", dir)
	}
	return dir
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(name), err, out)
	}
	return string(out)
}

// pinned returns what the first group of the expression matches in one of the files beside this test.
func pinned(t *testing.T, file, expression string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(expression).FindSubmatch(text)
	if match == nil {
		t.Fatalf("%s does not match %s", file, expression)
	}
	return string(match[1])
}

func TestKcatKnowsEveryCodec(t *testing.T) {
	t.Parallel()
	version := run(t, filepath.Join(tools(t), "bin", "kcat"), "-V")
	for _, codec := range []string{"gzip", "snappy", "lz4", "zstd"} {
		if !strings.Contains(version, codec) {
			t.Errorf("kcat is built without %s: %s", codec, version)
		}
	}
}

func TestPostgreSQLRuns(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"postgres", "initdb", "pg_ctl", "pg_basebackup"} {
		if version := run(t, filepath.Join(tools(t), "bin", name), "--version"); !strings.Contains(version, "PostgreSQL") {
			t.Errorf("%s says %s", name, version)
		}
	}
}

func TestKafkaToolsRun(t *testing.T) {
	t.Parallel()
	dir := tools(t)
	want := pinned(t, "pom.xml", `<kafka\.version>([^<]+)<`)
	for _, class := range []string{"ConsoleProducer", "consumer.ConsoleConsumer", "TopicCommand", "consumer.group.ConsumerGroupCommand"} {
		got := run(t, "java", "-cp", filepath.Join(dir, "jars", "*"), "org.apache.kafka.tools."+class, "--version")
		if strings.TrimSpace(got) != want {
			t.Errorf("org.apache.kafka.tools.%s says %q, want %s", class, got, want)
		}
	}
}

func TestJavaProgramOfOursRuns(t *testing.T) {
	t.Parallel()
	jars, dir := filepath.Join(tools(t), "jars", "*"), t.TempDir()
	source := filepath.Join(dir, "Version.java")
	program := `public class Version {
  public static void main(String[] args) { System.out.println(org.apache.kafka.common.utils.AppInfoParser.getVersion()); }
}`
	if err := os.WriteFile(source, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "javac", "-cp", jars, "-d", dir, source)
	got := run(t, "java", "-cp", jars+string(os.PathListSeparator)+dir, "Version")
	if want := pinned(t, "pom.xml", `<kafka\.version>([^<]+)<`); strings.TrimSpace(got) != want {
		t.Errorf("the client library is %q, want %s", got, want)
	}
}

func TestPythonClientIsThePinnedOne(t *testing.T) {
	t.Parallel()
	got := run(t, filepath.Join(tools(t), "venv", "bin", "python"), "-c", "import confluent_kafka as c; print(c.__version__)")
	if want := pinned(t, "requirements.txt", `(?m)^confluent-kafka==(\S+)`); strings.TrimSpace(got) != want {
		t.Errorf("confluent-kafka is %q, want %s", got, want)
	}
}

// TestEveryReaderReadsDelta shows that DuckDB, deltalake and Polars need nothing but what is installed, on files and on S3.
func TestEveryReaderReadsDelta(t *testing.T) {
	t.Parallel()
	dir := tools(t)
	out := run(t, filepath.Join(dir, "venv", "bin", "python"), "check_delta.py", filepath.Join(dir, "bin", "versitygw"), t.TempDir())
	for _, want := range []string{"duckdb file", "deltalake file", "polars file", "duckdb s3", "deltalake s3", "polars s3"} {
		if !strings.Contains(out, "ok "+want+"\n") {
			t.Errorf("%s did not read the table:\n%s", want, out)
		}
	}
}
