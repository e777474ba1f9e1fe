package group

// Code is a Kafka error code as it stands in an answer. The answers of this package are protocol structs, so the codes
// are decided here; every other package leaves that to ingest.
type Code int16

// The codes this package answers with, by Kafka's names.
const (
	codeNone                    Code = 0
	codeUnknownTopicOrPartition Code = 3
	codeOffsetMetadataTooLarge  Code = 12
	codeLoadInProgress          Code = 14
	codeCoordinatorUnavailable  Code = 15
	codeNotCoordinator          Code = 16
	codeIllegalGeneration       Code = 22
	codeInconsistentProtocol    Code = 23
	codeInvalidGroupID          Code = 24
	codeUnknownMemberID         Code = 25
	codeInvalidSessionTimeout   Code = 26
	codeRebalanceInProgress     Code = 27
	codeUnsupportedVersion      Code = 35
	codeInvalidRequest          Code = 42
	codePolicyViolation         Code = 44
	codeNonEmptyGroup           Code = 68
	codeGroupIDNotFound         Code = 69
	codeMemberIDRequired        Code = 79
	codeGroupMaxSizeReached     Code = 81
	codeFencedInstanceID        Code = 82
	codeGroupSubscribed         Code = 86
	codeUnknownTopicID          Code = 100
	codeFencedMemberEpoch       Code = 110
	codeUnreleasedInstanceID    Code = 111
	codeUnsupportedAssignor     Code = 112
	codeStaleMemberEpoch        Code = 113

	codeInvalidRegularExpression Code = 128
)
