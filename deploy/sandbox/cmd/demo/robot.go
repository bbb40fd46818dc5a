package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
)

// makeRobot makes the key of the service account: a key file for the broker, and its public half for the provider.
func (d *demo) makeRobot() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	file, err := json.Marshal(map[string]string{"type": "service_account", "client_email": robot, "client_id": robotNumber, "private_key_id": robotKey,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))})
	if err != nil {
		return err
	}
	if err := d.Write("secrets/robot.json", string(file)); err != nil {
		return err
	}
	return d.Write("sandbox-keys/robot.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})))
}
