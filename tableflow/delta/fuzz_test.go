package delta

import (
	"bytes"
	"reflect"
	"testing"
)

// FuzzParseCommit: no panic, and what was understood survives being written and read again.
func FuzzParseCommit(f *testing.F) {
	for _, seed := range []string{
		`{"commitInfo":{"timestamp":1,"inCommitTimestamp":2,"operation":"WRITE","operationParameters":{"mode":"Append"},"txnId":"t"}}`,
		`{"protocol":{"minReaderVersion":1,"minWriterVersion":7,"writerFeatures":["appendOnly","bargeLog"]}}`,
		`{"metaData":{"id":"x","format":{"provider":"parquet","options":{}},"schemaString":"{\"type\":\"struct\"}","partitionColumns":["a"],"configuration":{"k":"v"},"createdTime":5}}`,
		`{"add":{"path":"_data/a%20b.parquet","partitionValues":{"a":null,"b":"c"},"size":1,"modificationTime":2,"dataChange":false,"stats":"{}","tags":{"t":"u"}}}`,
		`{"remove":{"path":"_data/a.parquet","deletionTimestamp":9,"dataChange":true}}` + "\n" + `{"txn":{"appId":"a/b/c","version":12}}`,
		`{"domainMetadata":{"domain":"d","configuration":"","removed":true}}` + "\r\n\n" + `{"cdc":{"path":"x"}}`,
		`{"add":{"path":""}}`, `{"add":null}`, `[]`, `{"add":{"size":1e3,"path":"x"}}`, "{\"txn\":{\"appId\":\"\xff\"}}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		actions, err := parseCommit(body)
		if err != nil {
			return
		}
		var out bytes.Buffer
		for _, a := range actions {
			text, err := EncodeAction(a)
			if err != nil {
				t.Fatalf("%#v is read but can not be written: %v", a, err)
			}
			out.Write(append(text, '\n'))
		}
		again, err := parseCommit(out.Bytes())
		if err != nil || len(again) != len(actions) {
			t.Fatalf("%d actions, read again: %d, %v\n%s", len(actions), len(again), err, out.Bytes())
		}
		var second bytes.Buffer
		for i, a := range again {
			if reflect.TypeOf(a) != reflect.TypeOf(actions[i]) {
				t.Fatalf("%T became %T", actions[i], a)
			}
			text, err := EncodeAction(a)
			if err != nil {
				t.Fatal(err)
			}
			second.Write(append(text, '\n'))
		}
		if !bytes.Equal(out.Bytes(), second.Bytes()) {
			t.Fatalf("written differently the second time:\n%s\n%s", out.Bytes(), second.Bytes())
		}
		s := Empty()
		_ = s.apply(0, actions)
	})
}
