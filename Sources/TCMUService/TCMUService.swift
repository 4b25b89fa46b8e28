/// The D-Bus service org.kernel.TCMUService1.
public enum TCMUService {}
