package barge_test

import (
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/bargedata/barge"

// layers is the import table of ARCHITECTURE.md from the bottom up. A package imports only packages of rows below its own;
// a driver folder (a folder inside a package's folder) stands in its parent's row and may import the parent.
var layers = [][]string{
	{"record", "objectstore", "peer", "routing"},
	{"tableflow", "metadata"},
	{"batcher", "fetch", "group", "registry", "security"},
	{"compactor", "mirror"},
	{"ingest", "console"},
	{""}, // the module root
	{"bench", "sim"},
	{"cli"},
	{"cmd"},
}

func layerOf(pkg string) (row int, name string) {
	rel := strings.TrimPrefix(strings.TrimPrefix(pkg, module), "/")
	top, _, _ := strings.Cut(rel, "/")
	for i, names := range layers {
		if slices.Contains(names, top) {
			return i, top
		}
	}
	return -1, top
}

func mayImport(from, to string) bool {
	if strings.HasPrefix(from, to+"/") && to != module {
		return true // a driver folder imports its parent
	}
	if to == module+"/peer/peerpb" && from == module+"/peer" {
		return true // generated messages, which import nothing of ours
	}
	rf, _ := layerOf(from)
	rt, _ := layerOf(to)
	return rf >= 0 && rt >= 0 && rt < rf
}

func TestImportsFollowTheTable(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	seen := 0
	for {
		var p struct {
			ImportPath, Dir string
			Imports         []string
		}
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("go list output: %v", err)
		}
		seen++
		if row, name := layerOf(p.ImportPath); row < 0 && name != "test" {
			t.Errorf("%s is in no row of the table; add it to layers and to ARCHITECTURE.md", p.ImportPath)
		}
		if strings.HasPrefix(p.ImportPath, module+"/test") {
			continue // drives the binary and whatever it needs
		}
		for _, imp := range p.Imports {
			if (imp == module || strings.HasPrefix(imp, module+"/")) && !mayImport(p.ImportPath, imp) {
				t.Errorf("%s imports %s, which is not in a row below its own", p.ImportPath, imp)
			}
		}
	}
	if seen < 5 {
		t.Fatalf("go list named %d packages; the check would pass on nothing", seen)
	}
}

func TestImportTableRefusesWrongEdges(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"batcher", "metadata", true},
		{"metadata", "batcher", false},
		{"batcher", "fetch", false},
		{"metadata/bucketlog", "metadata", true},
		{"metadata", "metadata/bucketlog", false},
		{"tableflow/delta", "tableflow", true},
		{"tableflow", "metadata", false},
		{"ingest", "batcher", true},
		{"peer", "peer/peerpb", true},
		{"peer/peerpb", "record", false},
		{"peer", "record", false},
		{"cli", "", true},
		{"ingest", "", false},
	} {
		to := strings.TrimSuffix(module+"/"+c.to, "/")
		if got := mayImport(module+"/"+c.from, to); got != c.want {
			t.Errorf("mayImport(%s, %s) = %v, want %v", c.from, c.to, got, c.want)
		}
	}
}
