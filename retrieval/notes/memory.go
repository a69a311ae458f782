package notes

var memory []Note
