// Package lanemesh is the client of a Lanemesh mesh: it runs, feeds, watches and deploys pipelines on an orchestrator.
//
// Node servers are written with the package node below this one. README.md has examples of both.
package lanemesh
