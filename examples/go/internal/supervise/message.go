// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package supervise is a supervisor for the tests: it starts the test binary again as an embedding
// program, and reads what it replies. It uses nothing of the library under test.
package supervise

import (
	"bytes"
	"encoding/binary"
	"unsafe"
)

// Native is the machine's own byte order.
var Native = func() binary.ByteOrder {
	one := uint16(1)
	if *(*byte)(unsafe.Pointer(&one)) == 1 {
		return binary.LittleEndian
	}
	return binary.BigEndian
}()

const (
	messageType   = 62000
	messageHeader = 16
	headerLength  = 4
)

// Attribute is one nlattr.
type Attribute struct {
	Type    uint16
	Payload []byte
}

// Number is an attribute of 32 bits.
func Number(kind uint16, value uint32) Attribute {
	payload := make([]byte, 4)
	Native.PutUint32(payload, value)
	return Attribute{kind, payload}
}

// Flag is a bool of 32 bits.
func Flag(kind uint16, value bool) Attribute {
	if value {
		return Number(kind, 1)
	}
	return Number(kind, 0)
}

// ByteFlag is a bool of one byte.
func ByteFlag(kind uint16, value bool) Attribute {
	if value {
		return Attribute{kind, []byte{1}}
	}
	return Attribute{kind, []byte{0}}
}

// Text is a string, ended by NUL.
func Text(kind uint16, text string) Attribute {
	return Attribute{kind, append([]byte(text), 0)}
}

// Message has the attributes in their order. The last is not padded, as Go's netlink package does.
func Message(attributes ...Attribute) []byte {
	var body bytes.Buffer
	for _, attribute := range attributes {
		for body.Len()%4 != 0 {
			body.WriteByte(0)
		}
		header := make([]byte, headerLength)
		Native.PutUint16(header, uint16(headerLength+len(attribute.Payload)))
		Native.PutUint16(header[2:], attribute.Type)
		body.Write(header)
		body.Write(attribute.Payload)
	}
	message := make([]byte, messageHeader, messageHeader+body.Len())
	Native.PutUint32(message, uint32(messageHeader+body.Len()))
	Native.PutUint16(message[4:], messageType)
	Native.PutUint16(message[6:], 1) // NLM_F_REQUEST, which the receiver does not ask for
	return append(message, body.Bytes()...)
}
