package lanemesh

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

const (
	// MaxMessageBytes is the size of the largest message: 16 MiB.
	MaxMessageBytes = 16 << 20
	// StreamWindowBytes is the HTTP/2 window of one stream. A reader that stops holds its peer after so many bytes.
	StreamWindowBytes = 256 << 10
	// ConnectionWindowBytes is the window of a connection, which the streams on it share.
	ConnectionWindowBytes = 16 << 20
	// ProtocolVersion is the version of the protocol that this package speaks.
	ProtocolVersion = 1
)

// Security is what a client or a server needs to know of certificates and tokens.
type Security struct {
	// CertFile and KeyFile are the own certificate and its key, PEM; empty: none. A server with them takes TLS connections only.
	CertFile, KeyFile string
	// CAFile has the certificates of the authorities that peers are checked with, PEM; empty: those of the system.
	CAFile string
	// TLS makes a client use TLS although no file is named.
	TLS bool
	// MutualTLS makes a server require certificates of CAFile from its clients.
	MutualTLS bool
	// Token is the bearer token that is sent with every call; empty: none.
	Token string
	// TokenFile is a file with it. It is read for each call, so that a new token needs no restart.
	TokenFile string
}

// SecurityFromEnvironment reads LANEMESH_TLS_CERT, LANEMESH_TLS_KEY, LANEMESH_TLS_CA, LANEMESH_MTLS, LANEMESH_TOKEN and
// LANEMESH_TOKEN_FILE.
func SecurityFromEnvironment() Security {
	return Security{
		CertFile:  os.Getenv("LANEMESH_TLS_CERT"),
		KeyFile:   os.Getenv("LANEMESH_TLS_KEY"),
		CAFile:    os.Getenv("LANEMESH_TLS_CA"),
		MutualTLS: os.Getenv("LANEMESH_MTLS") == "1",
		Token:     os.Getenv("LANEMESH_TOKEN"),
		TokenFile: os.Getenv("LANEMESH_TOKEN_FILE"),
	}
}

// DialOptions returns the options of a connection: keepalive, windows, limits, TLS and the token. It fails if a file cannot be read.
func (s Security) DialOptions() ([]grpc.DialOption, error) {
	options := []grpc.DialOption{
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: 10 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: true}),
		grpc.WithInitialWindowSize(StreamWindowBytes),
		grpc.WithInitialConnWindowSize(ConnectionWindowBytes),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessageBytes), grpc.MaxCallSendMsgSize(MaxMessageBytes)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 5 * time.Second}),
	}
	if s.CertFile != "" || s.CAFile != "" || s.TLS {
		config, err := s.config()
		if err != nil {
			return nil, err
		}
		options = append(options, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	} else {
		options = append(options, grpc.WithInsecure())
	}
	if s.Token != "" || s.TokenFile != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer{s.Token, s.TokenFile}))
	}
	return options, nil
}

// ServerOptions returns the options of a server: keepalive, windows, limits and TLS. It fails if a file cannot be read.
func (s Security) ServerOptions() ([]grpc.ServerOption, error) {
	options := []grpc.ServerOption{
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.InitialWindowSize(StreamWindowBytes),
		grpc.InitialConnWindowSize(ConnectionWindowBytes),
		grpc.MaxRecvMsgSize(MaxMessageBytes),
		grpc.MaxSendMsgSize(MaxMessageBytes),
	}
	if s.CertFile == "" {
		if s.MutualTLS {
			return nil, badSetting("mutual TLS needs a certificate, its key and a CA: set LANEMESH_TLS_CERT, LANEMESH_TLS_KEY and LANEMESH_TLS_CA")
		}
		return options, nil
	}
	config, err := s.config()
	if err != nil {
		return nil, err
	}
	if s.MutualTLS {
		if s.CAFile == "" {
			return nil, badSetting("mutual TLS needs a CA: set LANEMESH_TLS_CA to a PEM file")
		}
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, config.RootCAs
	}
	return append(options, grpc.Creds(credentials.NewTLS(config))), nil
}

// config returns the certificates. The own one is read again for each connection, so that a renewed one needs no restart.
func (s Security) config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}
	if s.CAFile != "" {
		text, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, badSetting(fmt.Sprintf("the CA file cannot be read: %s", err))
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, badSetting(fmt.Sprintf("%s has no certificate: name a PEM file", s.CAFile))
		}
	}
	if s.CertFile == "" {
		return config, nil
	}
	load := func() (*tls.Certificate, error) {
		certificate, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
		if err != nil {
			return nil, badSetting(fmt.Sprintf("the certificate %s with the key %s cannot be used: %s", s.CertFile, s.KeyFile, err))
		}
		return &certificate, nil
	}
	if _, err := load(); err != nil {
		return nil, err
	}
	config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return load() }
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	return config, nil
}

func badSetting(message string) *Error {
	return &Error{Code: codes.InvalidArgument, Reason: "bad-setting", Message: message}
}

// bearer sends a token with every call.
type bearer struct{ token, file string }

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	token := b.token
	if token == "" {
		text, err := os.ReadFile(b.file)
		if err != nil {
			return nil, fmt.Errorf("the token file cannot be read: %w", err)
		}
		token = strings.TrimSpace(string(text))
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

// RequireTransportSecurity returns false: meshes on one machine use tokens without TLS.
func (b bearer) RequireTransportSecurity() bool { return false }
