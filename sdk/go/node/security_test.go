package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	lanemesh "lanemesh/sdk/go"
	pb "lanemesh/sdk/go/lanemeshv1"
)

// authority is a CA for a test.
type authority struct {
	t      *testing.T
	folder string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, folder: t.TempDir()}
	a.cert, a.key = a.make("ca", true)
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.folder, name) }

func (a *authority) make(name string, isCA bool) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	a.must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: isCA, BasicConstraintsValid: true, IPAddresses: []net.IP{net.ParseIP("127.0.0.1")},
	}
	parent, signer := a.cert, a.key
	if isCA {
		template.KeyUsage, parent, signer = x509.KeyUsageCertSign, template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	a.must(err)
	cert, err := x509.ParseCertificate(der)
	a.must(err)
	secret, err := x509.MarshalECPrivateKey(key)
	a.must(err)
	a.must(os.WriteFile(a.path(name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	a.must(os.WriteFile(a.path(name+".key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}), 0o600))
	return cert, key
}

func (a *authority) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// security is that of a peer with a certificate of this name.
func (a *authority) security(name string) lanemesh.Security {
	return lanemesh.Security{CertFile: a.path(name + ".pem"), KeyFile: a.path(name + ".key"), CAFile: a.path("ca.pem")}
}

// describe serves a node server and calls it.
func describe(t *testing.T, options Options, client lanemesh.Security) error {
	t.Helper()
	server, err := NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	defer func() {
		cancel()
		<-served
	}()
	dialOptions, err := client.DialOptions()
	if err != nil {
		return err
	}
	conn, err := grpc.Dial(server.Address(), dialOptions...)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = pb.NewNodeServiceClient(conn).Describe(ctx, &pb.DescribeRequest{})
	return err
}

func TestMutualTLSTakesPeersOfItsAuthorityOnly(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	ours.make("server", false)
	ours.make("client", false)
	others.make("client", false)
	serving := ours.security("server")
	serving.MutualTLS = true
	stranger := others.security("client")
	stranger.CAFile = ours.path("ca.pem")
	for name, test := range map[string]struct {
		client lanemesh.Security
		ok     bool
	}{
		"certificate of the authority": {ours.security("client"), true},
		"certificate of another one":   {stranger, false},
		"no certificate":               {lanemesh.Security{CAFile: ours.path("ca.pem")}, false},
		"no TLS":                       {lanemesh.Security{}, false},
		"another CA":                   {others.security("client"), false},
	} {
		if err := describe(t, Options{Security: &serving}, test.client); (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRenewedCertificateIsUsedWithoutRestart(t *testing.T) {
	a := newAuthority(t)
	a.make("server", false)
	options, err := a.security("server").ServerOptions()
	if err != nil || len(options) == 0 {
		t.Fatal(err)
	}
	before, err := os.ReadFile(a.path("server.pem"))
	a.must(err)
	a.make("server", false)
	after, err := os.ReadFile(a.path("server.pem"))
	a.must(err)
	if string(before) == string(after) {
		t.Fatal("the certificate was not renewed")
	}
	serving := a.security("server")
	if err := describe(t, Options{Security: &serving}, lanemesh.Security{CAFile: a.path("ca.pem")}); err != nil {
		t.Fatal(err)
	}
}

func TestTokenIsSentAndChecked(t *testing.T) {
	authorize := func(ctx context.Context, method string) error {
		given, _ := metadata.FromIncomingContext(ctx)
		if tokens := given.Get("authorization"); len(tokens) != 1 || tokens[0] != "Bearer right" {
			return (&lanemesh.Error{Code: codes.Unauthenticated, Reason: "bad-token", Message: "the token is wrong"}).GRPCStatus().Err()
		}
		return nil
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("right\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		client lanemesh.Security
		code   codes.Code
	}{
		"right":     {lanemesh.Security{Token: "right"}, codes.OK},
		"of a file": {lanemesh.Security{TokenFile: file}, codes.OK},
		"wrong":     {lanemesh.Security{Token: "wrong"}, codes.Unauthenticated},
		"none":      {lanemesh.Security{}, codes.Unauthenticated},
	} {
		err := describe(t, Options{Security: &lanemesh.Security{}, Authorize: authorize}, test.client)
		if status.Code(err) != test.code {
			t.Errorf("%s: %v", name, err)
		}
		if failed, _ := status.FromError(err); err != nil && lanemesh.FaultOfStatus(failed).Reason != "bad-token" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestServerDoesNotStartWithTokensThatItCannotCheck(t *testing.T) {
	t.Setenv("LANEMESH_AUTH", "tokens.toml")
	if _, err := NewServer(Options{}); err == nil || lanemesh.AsError(err).Reason != "bad-setting" {
		t.Fatalf("got %v", err)
	}
}

func TestNodeTypesThatContradictThemselvesAreRefused(t *testing.T) {
	call := func(context.Context, *In) error { return nil }
	for _, wrong := range []*Type{
		{Call: call},
		{Provider: "neither"},
		{Provider: "twice", Call: call, Inputs: []Input{{Name: "a"}, {Name: "a"}}},
		{Provider: "schema", Call: call, ConfigSchema: "{"},
	} {
		if _, err := NewServer(Options{}, wrong); err == nil || lanemesh.AsError(err).Reason != "bad-node" {
			t.Errorf("%v: got %v", wrong, err)
		}
	}
}
