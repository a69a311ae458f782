package notes

var storage []Note
