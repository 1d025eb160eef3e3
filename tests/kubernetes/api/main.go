// The part of the Kubernetes API that a pod of mökv asks: an object by its path, over TLS and
// HTTP/2, with the pod's token. Used by cluster.py, which keeps the objects in files.
//
// usage: api ADDRESS OBJECTS CREDENTIALS
// Serves the file OBJECTS/PATH for the path PATH; what is not there may not be read. Writes what
// Kubernetes mounts into a pod, ca.crt and token, to CREDENTIALS, and says that it listens.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: api ADDRESS OBJECTS CREDENTIALS")
	}
	address, objects, credentials := os.Args[1], os.Args[2], os.Args[3]
	token := newToken()
	authority, certificate := newCertificate(address)
	write(filepath.Join(credentials, "ca.crt"), authority)
	write(filepath.Join(credentials, "token"), []byte(token))

	listener, err := tls.Listen("tcp", net.JoinHostPort(address, "443"), &tls.Config{
		Certificates: []tls.Certificate{certificate},
		NextProtos:   []string{"h2"},
	})
	must(err)
	fmt.Println("listening")
	server := http.Server{Handler: handler(objects, token), ReadHeaderTimeout: 5 * time.Second}
	must(server.Serve(listener))
}

func handler(objects, token string) http.Handler {
	files := http.Dir(objects)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			http.Error(w, "no such token", http.StatusUnauthorized)
			return
		}
		file, err := files.Open(r.URL.Path)
		if r.Method != http.MethodGet || err != nil {
			http.Error(w, "no role allows it", http.StatusForbidden)
			return
		}
		defer file.Close()
		w.Header().Set("Content-Type", "application/json")
		http.ServeContent(w, r, "", time.Time{}, file)
	})
}

// newCertificate returns the PEM of an authority and a certificate for address that it issued.
func newCertificate(address string) ([]byte, tls.Certificate) {
	issuerKey, serverKey := newKey(), newKey()
	issuer := template(1, "authority")
	issuer.IsCA, issuer.BasicConstraintsValid, issuer.KeyUsage = true, true, x509.KeyUsageCertSign
	issuerDER, err := x509.CreateCertificate(rand.Reader, issuer, issuer, &issuerKey.PublicKey, issuerKey)
	must(err)
	server := template(2, "api")
	server.IPAddresses = []net.IP{net.ParseIP(address)}
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	serverDER, err := x509.CreateCertificate(rand.Reader, server, issuer, &serverKey.PublicKey, issuerKey)
	must(err)
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issuerDER})
	return authority, tls.Certificate{Certificate: [][]byte{serverDER}, PrivateKey: serverKey}
}

func template(serial int64, name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	return key
}

func newToken() string {
	random := make([]byte, 32)
	_, err := rand.Read(random)
	must(err)
	return hex.EncodeToString(random)
}

func write(file string, content []byte) {
	must(os.WriteFile(file, content, 0o644))
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
