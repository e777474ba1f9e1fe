package peer

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// peerName is the name that every agent's certificate bears: an agent is known by the secret, not by where it runs.
const peerName = "agent.barge.peer"

// identity makes the TLS settings of an agent. The cluster's secret is stretched into the key of an authority (HKDF-SHA-256, so the
// key tells nothing of the secret), which signs a fresh key for this life of the agent; both sides demand a certificate of that
// authority. The cluster's id stands in it as the common name, which otherCluster compares: two clusters that were given the same
// secret stay apart too. Certificates are valid for as long as calendars go, because no clock can be relied on and none lives longer
// than its process.
func identity(cfg Config) (*tls.Config, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	seed, err := hkdf.Key(sha256.New, cfg.Secret, nil, "barge peer authority 1", ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("peer: key from the cluster's secret: %w", err)
	}
	authorityKey := ed25519.NewKeyFromSeed(seed)
	from, to := certificateLife()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "barge cluster"},
		NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, authority, authority, authorityKey.Public(), authorityKey)
	if err != nil {
		return nil, fmt.Errorf("peer: certificate of the cluster: %w", err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("peer: certificate of the cluster: %w", err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("peer: key of this agent: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("peer: number of a certificate: %w", err)
	}
	leaf := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: cfg.Cluster}, DNSNames: []string{peerName},
		NotBefore: from, NotAfter: to,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if der, err = x509.CreateCertificate(rand.Reader, leaf, root, public, authorityKey); err != nil {
		return nil, fmt.Errorf("peer: certificate of this agent: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{"h2"},
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}},
		RootCAs:      pool, ServerName: peerName, // as a client
		ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, // as a server
		VerifyConnection:       func(s tls.ConnectionState) error { return otherCluster(cfg.Cluster, s) },
		SessionTicketsDisabled: true,
	}, nil
}

// certificateLife is from long ago to the end of calendars.
func certificateLife() (from, to time.Time) {
	return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
}

// otherCluster refuses a peer that knows the secret and means another cluster.
func otherCluster(cluster string, s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("peer: no certificate") // tls demands one before it asks
	}
	if other := s.PeerCertificates[0].Subject.CommonName; other != cluster {
		return fmt.Errorf("%w: %s, and this agent to %s; give each cluster a secret and addresses of its own", ErrOtherCluster, other, cluster)
	}
	return nil
}
