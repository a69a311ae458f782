package notes

var packets []Note
