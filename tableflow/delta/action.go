package delta

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Action is one line of a commit: CommitInfo, Protocol, Metadata, Add, Remove, Txn, or DomainMetadata.
type Action interface{ action() }

// CommitInfo tells where a commit comes from. With in-commit timestamps it is the first line of every commit.
type CommitInfo struct {
	Timestamp         int64          `json:"timestamp"`                   // milliseconds
	InCommitTimestamp int64          `json:"inCommitTimestamp,omitempty"` // milliseconds, ascending from version to version
	Operation         string         `json:"operation,omitempty"`
	Parameters        map[string]any `json:"operationParameters,omitzero"`
	IsBlindAppend     *bool          `json:"isBlindAppend,omitempty"`
	EngineInfo        string         `json:"engineInfo,omitempty"`
	TxnID             string         `json:"txnId,omitempty"`
}

// Protocol says what readers and writers must know. Features are lists only from reader version 3 and writer version 7 on.
type Protocol struct {
	MinReaderVersion int32    `json:"minReaderVersion"`
	MinWriterVersion int32    `json:"minWriterVersion"`
	ReaderFeatures   []string `json:"readerFeatures,omitempty"`
	WriterFeatures   []string `json:"writerFeatures,omitempty"`
}

// Metadata describes the table.
type Metadata struct {
	ID               string            `json:"id"`
	Name             string            `json:"name,omitempty"`
	Description      string            `json:"description,omitempty"`
	Format           Format            `json:"format"`
	SchemaString     string            `json:"schemaString"`
	PartitionColumns []string          `json:"partitionColumns"`
	Configuration    map[string]string `json:"configuration"`
	CreatedTime      int64             `json:"createdTime,omitempty"` // milliseconds
}

// Format names the file format: always parquet.
type Format struct {
	Provider string            `json:"provider"`
	Options  map[string]string `json:"options"`
}

// Add brings a data file into the table.
type Add struct {
	Path             string             `json:"path"` // relative to the table, URI-encoded
	PartitionValues  map[string]*string `json:"partitionValues"`
	Size             int64              `json:"size"`             // bytes
	ModificationTime int64              `json:"modificationTime"` // milliseconds
	DataChange       bool               `json:"dataChange"`       // false: the same rows in other files
	Stats            string             `json:"stats,omitempty"`  // JSON
	Tags             map[string]string  `json:"tags,omitempty"`
}

// Remove takes a data file out of the table. The file itself is deleted later, by its owner.
type Remove struct {
	Path                 string             `json:"path"`
	DeletionTimestamp    int64              `json:"deletionTimestamp"` // milliseconds
	DataChange           bool               `json:"dataChange"`
	ExtendedFileMetadata bool               `json:"extendedFileMetadata,omitempty"`
	PartitionValues      map[string]*string `json:"partitionValues,omitempty"`
	Size                 int64              `json:"size,omitempty"`
}

// Txn is how far an application has come in writing to the table.
type Txn struct {
	AppID       string `json:"appId"`
	Version     int64  `json:"version"`
	LastUpdated int64  `json:"lastUpdated,omitempty"` // milliseconds
}

// DomainMetadata is a named text of a feature or an application.
type DomainMetadata struct {
	Domain        string `json:"domain"`
	Configuration string `json:"configuration"`
	Removed       bool   `json:"removed"`
}

func (CommitInfo) action()     {}
func (Protocol) action()       {}
func (Metadata) action()       {}
func (Add) action()            {}
func (Remove) action()         {}
func (Txn) action()            {}
func (DomainMetadata) action() {}

// line is a commit's line: one field is set.
type line struct {
	CommitInfo     *CommitInfo     `json:"commitInfo,omitempty"`
	Protocol       *Protocol       `json:"protocol,omitempty"`
	Metadata       *Metadata       `json:"metaData,omitempty"`
	Add            *Add            `json:"add,omitempty"`
	Remove         *Remove         `json:"remove,omitempty"`
	Txn            *Txn            `json:"txn,omitempty"`
	DomainMetadata *DomainMetadata `json:"domainMetadata,omitempty"`
}

// EncodeAction returns the action as one line of a commit, without the newline.
func EncodeAction(a Action) ([]byte, error) {
	var l line
	switch a := a.(type) {
	case CommitInfo:
		l.CommitInfo = &a
	case Protocol:
		l.Protocol = &a
	case Metadata:
		if a.PartitionColumns == nil {
			a.PartitionColumns = []string{}
		}
		if a.Configuration == nil {
			a.Configuration = map[string]string{}
		}
		if a.Format.Options == nil {
			a.Format.Options = map[string]string{}
		}
		l.Metadata = &a
	case Add:
		if a.PartitionValues == nil {
			a.PartitionValues = map[string]*string{}
		}
		l.Add = &a
	case Remove:
		l.Remove = &a
	case Txn:
		l.Txn = &a
	case DomainMetadata:
		l.DomainMetadata = &a
	default:
		return nil, fmt.Errorf("encode action %T: unknown kind", a)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(l); err != nil {
		return nil, fmt.Errorf("encode action %T: %w", a, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// ParseAction reads one line of a commit. An action of a kind that readers may ignore (change data, sidecars, what later
// protocols bring) gives nil. Errors: ErrCorrupt.
func ParseAction(text []byte) (Action, error) {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return nil, fmt.Errorf("action %.60q: %w: %w", text, err, ErrCorrupt)
	}
	switch {
	case l.CommitInfo != nil:
		return *l.CommitInfo, nil
	case l.Protocol != nil:
		return *l.Protocol, nil
	case l.Metadata != nil:
		return *l.Metadata, nil
	case l.Add != nil:
		if l.Add.Path == "" {
			return nil, fmt.Errorf("add without path: %w", ErrCorrupt)
		}
		return *l.Add, nil
	case l.Remove != nil:
		if l.Remove.Path == "" {
			return nil, fmt.Errorf("remove without path: %w", ErrCorrupt)
		}
		return *l.Remove, nil
	case l.Txn != nil:
		return *l.Txn, nil
	case l.DomainMetadata != nil:
		return *l.DomainMetadata, nil
	default:
		return nil, nil
	}
}

// parseCommit reads the lines of a commit, without those that may be ignored.
func parseCommit(body []byte) ([]Action, error) {
	var actions []Action
	for text := range bytes.Lines(body) {
		text = bytes.TrimSpace(text)
		if len(text) == 0 {
			continue
		}
		a, err := ParseAction(text)
		if err != nil {
			return nil, err
		}
		if a != nil {
			actions = append(actions, a)
		}
	}
	return actions, nil
}
