package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/bargedata/barge/objectstore"
)

// classify adds the error a caller acts on to one of minio-go's; nil stays nil.
func classify(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		return fmt.Errorf("%w: %w: %s", objectstore.ErrUnknown, ctxErr, err.Error())
	}
	response, ok := errors.AsType[minio.ErrorResponse](err)
	if !ok {
		return classifyTransport(err)
	}
	detail := describeResponse(response)
	if sentinel := sentinelOf(response); sentinel != nil {
		return fmt.Errorf("%w: %s", sentinel, detail)
	}
	return errors.New(detail)
}

// classifyTransport judges errors without an answer from the server: unknown, except where no retry can mend it.
func classifyTransport(err error) error {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("the server's certificate is not trusted: %w", err)
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fmt.Errorf("the server's certificate is not trusted: %w", err)
	}
	if strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		return fmt.Errorf("the endpoint speaks http, not https: %w", err)
	}
	// Not %w for err: a broken connection shows as io.ErrUnexpectedEOF, which callers take for the object's end.
	return fmt.Errorf("%w: %s", objectstore.ErrUnknown, err.Error())
}

func describeResponse(r minio.ErrorResponse) string {
	text := fmt.Sprintf("%d %s: %s", r.StatusCode, r.Code, r.Message)
	switch r.Code {
	case "RequestTimeTooSkewed":
		text += " (set this machine's clock)"
	case "AuthorizationHeaderMalformed", "PermanentRedirect", "InvalidRegion", "IllegalLocationConstraintException":
		text += " (check the region and the endpoint in the store's URL"
		if r.Region != "" {
			text += "; the server names " + r.Region
		}
		text += ")"
	}
	return text
}

// sentinelOf decides by the S3 code first: servers agree on codes more than on statuses, and errors inside a multi-delete
// have only a code.
func sentinelOf(r minio.ErrorResponse) error {
	switch r.Code {
	case "PreconditionFailed":
		return objectstore.ErrExists
	case "NoSuchBucket":
		return objectstore.ErrNoBucket
	case "NoSuchKey", "NoSuchVersion":
		return objectstore.ErrNotFound
	case "InvalidRange":
		return io.ErrUnexpectedEOF
	case "QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "InsufficientCapacity":
		return objectstore.ErrFull
	case "AccessDenied", "AllAccessDisabled", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken",
		"AccountProblem", "AuthorizationHeaderMalformed", "RequestTimeTooSkewed", "MethodNotAllowed":
		return objectstore.ErrDenied
	case "ConditionalRequestConflict", "OperationAborted", "SlowDown", "SlowDownRead", "SlowDownWrite", "RequestTimeout",
		"InternalError", "ServiceUnavailable", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests",
		// Damaged on the way: nothing was written, and the same bytes will do.
		"BadDigest", "XAmzContentChecksumMismatch", "IncompleteBody":
		return objectstore.ErrUnknown
	}
	return sentinelOfStatus(r.StatusCode)
}

func sentinelOfStatus(status int) error {
	switch status {
	case http.StatusPreconditionFailed:
		return objectstore.ErrExists
	case http.StatusNotFound:
		return objectstore.ErrNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		return objectstore.ErrDenied
	case http.StatusRequestedRangeNotSatisfiable:
		return io.ErrUnexpectedEOF
	case http.StatusInsufficientStorage:
		return objectstore.ErrFull
	case http.StatusNotImplemented:
		return nil
	case http.StatusConflict, http.StatusRequestTimeout, http.StatusTooManyRequests, 499:
		return objectstore.ErrUnknown
	}
	if status >= 500 {
		return objectstore.ErrUnknown
	}
	return nil
}
